(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (loop $forever
    (br $forever))
  unreachable)
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  unreachable)

(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (i32.const 0xfffffff8))
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  unreachable)

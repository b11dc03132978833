(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $error (i32.const 0) (i32.const 7) (i32.const 0)))

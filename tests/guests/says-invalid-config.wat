(data (i32.const 1000) "\1b[31mred\1b[0m")
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $error (i32.const 1) (i32.const 1000) (i32.const 12)))

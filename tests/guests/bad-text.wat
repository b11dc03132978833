(data (i32.const 1000) "\ff\fe\fd")
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $error (i32.const 1) (i32.const 1000) (i32.const 3)))

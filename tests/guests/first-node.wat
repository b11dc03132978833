(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $ok (call $everything-to (i32.const 0) (local.get 2)) (local.get 2)))

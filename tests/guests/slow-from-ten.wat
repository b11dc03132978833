(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (if (i32.ge_u (local.get 1) (i32.const 10)) (then (loop $for-ever (br $for-ever))))
  (call $ok (call $in-turn (local.get 0) (local.get 1) (local.get 2)) (local.get 2)))

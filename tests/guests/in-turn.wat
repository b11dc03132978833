(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $ok
    (call $in-turn (local.get 0) (local.get 1) (i32.mul (local.get 2) (local.get 3)))
    (i32.mul (local.get 2) (local.get 3))))

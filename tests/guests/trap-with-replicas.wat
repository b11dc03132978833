;; In turn with one replica, and crashes with more.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (if (i32.ne (local.get 3) (i32.const 1)) (then (unreachable)))
  (call $ok (call $in-turn (local.get 0) (local.get 1) (local.get 2)) (local.get 2)))

;; In turn with one replica, and the same node twice with more.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (if (i32.eq (local.get 3) (i32.const 1))
    (then (return (call $ok
      (call $in-turn (local.get 0) (local.get 1) (local.get 2)) (local.get 2)))))
  (call $ok
    (call $everything-to (i32.const 0) (i32.mul (local.get 2) (local.get 3)))
    (i32.mul (local.get 2) (local.get 3))))

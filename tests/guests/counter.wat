;; How often it was asked says who owns everything.
(global $asked (mut i32) (i32.const -1))
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
  (call $ok
    (call $everything-to (i32.rem_u (global.get $asked) (local.get 1)) (local.get 2))
    (local.get 2)))

;; Takes a quarter of the fuel for a small question each time, and then answers well.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (local $turns i32)
  (local.set $turns (i32.const 10000000))
  (loop $again
    (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
    (br_if $again (local.get $turns)))
  (call $ok
    (call $in-turn (local.get 0) (local.get 1) (i32.mul (local.get 2) (local.get 3)))
    (i32.mul (local.get 2) (local.get 3))))

;; A message of 10,000 times the letter x.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (local $text i32)
  (local.set $text (call $alloc (i32.const 10000)))
  (memory.fill (local.get $text) (i32.const 0x78) (i32.const 10000))
  (call $error (i32.const 2) (local.get $text) (i32.const 10000)))

;; What every guest needs. Addresses below 4096 are fixed, those above are handed out.
(memory (export "memory") 1)
(type $assign (func (param $nodes i32) (param $node-count i32) (param $partitions i32)
  (param $replicas i32) (param $config i32) (param $config-bytes i32) (result i32)))

(global $free (mut i32) (i32.const 4096))

;; Hands out memory for good: a guest lives for one question.
(func $alloc (param $bytes i32) (result i32)
  (local $start i32)
  (local.set $start (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
  (global.set $free (i32.add (local.get $start) (local.get $bytes)))
  (block $enough
    (loop $grow
      (br_if $enough (i32.le_u (global.get $free) (i32.shl (memory.size) (i32.const 16))))
      (drop (memory.grow (i32.const 1)))
      (br $grow)))
  (local.get $start))

;; A list of owners that all are the same node.
(func $everything-to (param $node i32) (param $count i32) (result i32)
  (local $list i32) (local $at i32)
  (local.set $list (call $alloc (i32.shl (local.get $count) (i32.const 2))))
  (local.set $at (local.get $list))
  (block $done
    (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (i32.store (local.get $at) (local.get $node))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next)))
  (local.get $list))

;; The answer is at 512: whether it is an error, then a list (address, length) or an error's case and payload.
(func $ok (param $list i32) (param $count i32) (result i32)
  (i32.store8 (i32.const 512) (i32.const 0))
  (i32.store (i32.const 516) (local.get $list))
  (i32.store (i32.const 520) (local.get $count))
  (i32.const 512))

(func $error (param $case i32) (param $payload i32) (param $bytes i32) (result i32)
  (i32.store8 (i32.const 512) (i32.const 1))
  (i32.store8 (i32.const 516) (local.get $case))
  (i32.store (i32.const 520) (local.get $payload))
  (i32.store (i32.const 524) (local.get $bytes))
  (i32.const 512))

;; What it says of itself is at 600: three texts (address, length), which are at 640.
(data (i32.const 600) "\80\02\00\00\05\00\00\00\85\02\00\00\05\00\00\00\8a\02\00\00\1c\00\00\00")
(data (i32.const 640) "guest" "0.1.0" "Misbehaves in one known way.")

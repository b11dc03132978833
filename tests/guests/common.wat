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

;; What it says of itself is at 600: four texts (address, length), which are at 640; the last one is empty,
;; and not read by a host of version 0.1.0.
(data (i32.const 600) "\80\02\00\00\05\00\00\00\85\02\00\00\05\00\00\00\8a\02\00\00\1c\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 640) "guest" "0.1.0" "Misbehaves in one known way.")

;; Whether the id of the node at $one sorts before that of the node at $other; a node is 20 bytes.
(func $before (param $one i32) (param $other i32) (result i32)
  (local $at i32) (local $a i32) (local $b i32)
  (loop $next
    (if (i32.ge_u (local.get $at) (i32.load offset=4 (local.get $other))) (then (return (i32.const 0))))
    (if (i32.ge_u (local.get $at) (i32.load offset=4 (local.get $one))) (then (return (i32.const 1))))
    (local.set $a (i32.load8_u (i32.add (i32.load (local.get $one)) (local.get $at))))
    (local.set $b (i32.load8_u (i32.add (i32.load (local.get $other)) (local.get $at))))
    (if (i32.ne (local.get $a) (local.get $b))
      (then (return (i32.lt_u (local.get $a) (local.get $b)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next))
  (unreachable))

;; The index of the node that has $rank others before it by id.
(func $ranked (param $nodes i32) (param $count i32) (param $rank i32) (result i32)
  (local $node i32) (local $other i32) (local $smaller i32)
  (loop $next-node
    (local.set $smaller (i32.const 0))
    (local.set $other (i32.const 0))
    (loop $next-other
      (local.set $smaller (i32.add (local.get $smaller) (call $before
        (i32.add (local.get $nodes) (i32.mul (local.get $other) (i32.const 20)))
        (i32.add (local.get $nodes) (i32.mul (local.get $node) (i32.const 20))))))
      (local.set $other (i32.add (local.get $other) (i32.const 1)))
      (br_if $next-other (i32.lt_u (local.get $other) (local.get $count))))
    (if (i32.eq (local.get $smaller) (local.get $rank)) (then (return (local.get $node))))
    (local.set $node (i32.add (local.get $node) (i32.const 1)))
    (br_if $next-node (i32.lt_u (local.get $node) (local.get $count))))
  (unreachable))

;; A list that goes round the nodes, in the order of their ids.
(func $in-turn (param $nodes i32) (param $node-count i32) (param $count i32) (result i32)
  (local $list i32) (local $order i32) (local $at i32)
  (local.set $order (call $alloc (i32.shl (local.get $node-count) (i32.const 2))))
  (loop $next-rank
    (i32.store (i32.add (local.get $order) (i32.shl (local.get $at) (i32.const 2)))
      (call $ranked (local.get $nodes) (local.get $node-count) (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br_if $next-rank (i32.lt_u (local.get $at) (local.get $node-count))))
  (local.set $list (call $alloc (i32.shl (local.get $count) (i32.const 2))))
  (local.set $at (i32.const 0))
  (loop $next
    (i32.store (i32.add (local.get $list) (i32.shl (local.get $at) (i32.const 2)))
      (i32.load (i32.add (local.get $order)
        (i32.shl (i32.rem_u (local.get $at) (local.get $node-count)) (i32.const 2)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $at) (local.get $count))))
  (local.get $list))

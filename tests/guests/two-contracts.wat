;; Goes round the nodes as a strategy of the newest contract, and crashes as one of the first.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (call $ok
    (call $in-turn (local.get 0) (local.get 1) (i32.mul (local.get 2) (local.get 3)))
    (i32.mul (local.get 2) (local.get 3))))
(func (export "kv:placement/strategy@0.2.0#describe") (export "kv:placement/strategy@0.1.0#describe") (result i32)
  (i32.const 600))
(func (export "kv:placement/strategy@0.1.0#assign") (type $assign)
  unreachable)

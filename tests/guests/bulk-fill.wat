;; Fills most of its memory in every turn, so that few instructions take much time.
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (drop (memory.grow (i32.const 200)))
  (loop $forever
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 13107200))
    (br $forever))
  unreachable)

(table $functions 1 funcref)
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  (loop $forever
    (drop (table.grow $functions (ref.null func) (i32.const 1000)))
    (br $forever))
  unreachable)

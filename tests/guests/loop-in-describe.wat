(func (export "kv:placement/strategy@0.2.0#describe") (result i32)
  (loop $forever
    (br $forever))
  unreachable)
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  unreachable)

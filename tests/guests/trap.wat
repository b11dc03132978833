(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  unreachable)

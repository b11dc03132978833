(func (export "kv:placement/strategy@0.1.0#assign") (type $assign)
  unreachable)

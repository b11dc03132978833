(module
  (func (export "kv:placement/strategy@9.0.0#assign") (result i32)
    (i32.const 42)))

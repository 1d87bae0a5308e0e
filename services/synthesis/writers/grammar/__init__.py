"""The offline writer: questions and golds from a grammar over described domains, without a model."""

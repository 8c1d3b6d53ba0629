"""The OpenAPI 3.1 description of this face, made from its route table."""

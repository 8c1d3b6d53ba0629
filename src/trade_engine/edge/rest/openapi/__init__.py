"""The OpenAPI 3.1 description of the REST API, made from the route table, and the page that shows it.

It says nothing that the code does not: what a row or a Struct does not know is not described.
"""

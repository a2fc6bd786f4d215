"""What is made from other files: schemas, the OpenAPI document, schedules, form files."""

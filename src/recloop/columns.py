"""Names of the columns of the canonical tables. Every other module uses these constants."""

USER = "user_id"
ITEM = "item_id"
TIME = "timestamp"
EVENT = "event"
VALUE = "value"

HEAD = "head"
RELATION = "relation"
TAIL = "tail"

TITLE = "title"
CATEGORIES = "categories"

INTERACTIONS = (USER, ITEM, TIME, EVENT, VALUE)
KNOWLEDGE = (HEAD, RELATION, TAIL)

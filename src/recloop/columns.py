"""Names of the columns of the canonical tables. Every other module uses these constants."""

USER = "user_id"
ITEM = "item_id"
TIME = "timestamp"
EVENT = "event"
VALUE = "value"

HEAD = "head"
RELATION = "relation"
TAIL = "tail"

REQUEST = "request_id"
POSITION = "position"
SCORE = "score"
PROPENSITY = "propensity"
POLICY = "policy"
BUNDLE = "bundle"
ARM = "arm"

TITLE = "title"
CATEGORIES = "categories"

INTERACTIONS = (USER, ITEM, TIME, EVENT, VALUE)
EVENT_KEY = (USER, ITEM, TIME, EVENT)
IMPRESSIONS = (REQUEST, POSITION, USER, ITEM, TIME, SCORE, PROPENSITY, POLICY, BUNDLE, ARM)
KNOWLEDGE = (HEAD, RELATION, TAIL)

RATING = "rating"
"""The event whose value is a rating; the value of any other is a weight, 1 where nothing else is said."""

ITEM_ENTITY = "item:"
"""What precedes an item's id where it is the head or tail of a knowledge triple."""

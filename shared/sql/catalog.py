"""Schema cards from the object store; the last ones used are remembered."""

from collections import OrderedDict

from shared.errors import NotFoundError
from shared.sql.card import SchemaCard
from shared.storage.base import ObjectStore
from shared.storage.keys import asked_card_key, card_key

REMEMBERED = 2048


def find_card(objects: ObjectStore, database_id: str) -> SchemaCard:
    """The card of a stored database, or of one that was built for a question. Raises `NotFoundError`."""
    try:
        return SchemaCard.model_validate_json(objects.get(card_key(database_id)))
    except NotFoundError:
        return SchemaCard.model_validate_json(objects.get(asked_card_key(database_id)))


class Catalog:
    """Cards by database id. Raises `NotFoundError` for a database that was never sealed."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.cards: OrderedDict[str, SchemaCard] = OrderedDict()

    def card(self, database_id: str) -> SchemaCard:
        """The card of one database."""
        card = self.cards.get(database_id)
        if card is None:
            card = find_card(self.objects, database_id)
            self.cards[database_id] = card
            if len(self.cards) > REMEMBERED:
                self.cards.popitem(last=False)
        self.cards.move_to_end(database_id)
        return card

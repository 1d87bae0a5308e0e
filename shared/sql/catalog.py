"""Schema cards from the object store; the last ones used are remembered."""

from collections import OrderedDict

from shared.sql.card import SchemaCard
from shared.storage.base import ObjectStore
from shared.storage.keys import card_key

REMEMBERED = 2048


class Catalog:
    """Cards by database id. Raises `NotFoundError` for a database that was never sealed."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.cards: OrderedDict[str, SchemaCard] = OrderedDict()

    def card(self, database_id: str) -> SchemaCard:
        """The card of one database."""
        card = self.cards.get(database_id)
        if card is None:
            card = SchemaCard.model_validate_json(self.objects.get(card_key(database_id)))
            self.cards[database_id] = card
            if len(self.cards) > REMEMBERED:
                self.cards.popitem(last=False)
        self.cards.move_to_end(database_id)
        return card

"""binance-connector: its client of streams; what else a story does goes over REST."""

import json
from collections.abc import Callable
from typing import Any

from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

from adapters import binance_connector
from adapters.background import Feed
from adapters.events import STREAMS, Stitched, balances, execution, list_status, shown


class Account(binance_connector.Account):
    """One user."""

    def _feed(self, names: list[str], take: Callable[[Feed, dict[str, Any]], None], combined: bool = False) -> Feed:
        """A feed of a connection of its own; ready when the subscription is answered."""

        def heard(_: Any, message: str) -> None:
            event = json.loads(message)
            if "result" in event or "error" in event:
                answers.append(event)
            else:
                take(feed, event)

        answers: list[Any] = []
        client = SpotWebsocketStreamClient(
            stream_url=self.url.replace("http", "ws", 1), on_message=heard, is_combined=combined
        )
        feed = Feed(client.stop)
        client.subscribe(names)
        feed.until(lambda _: answers)
        assert answers[0].get("error") is None, answers[0]
        return feed

    def _named(self, kind: str) -> str:
        return f"{self.symbol.lower()}@{STREAMS[kind]}"

    def watch(self, kind: str) -> Feed:
        return self._feed([self._named(kind)], lambda feed, event: feed.events.append(shown(kind, event)))

    def watch_two(self) -> Feed:
        def take(feed: Feed, event: dict[str, Any]) -> None:
            kind = "trades" if event["stream"].endswith("@trade") else "best"
            feed.events.append((kind, shown(kind, event["data"])))

        return self._feed([self._named("trades"), self._named("best")], take, combined=True)

    def watch_book(self) -> Feed:
        held: list[Any] = []
        books: list[Stitched] = []

        def take(feed: Feed, event: dict[str, Any]) -> None:
            held.append(event)
            if books:
                while held:
                    books[0].take(held.pop(0))
                feed.events.append(books[0].book())

        feed = self._feed([f"{self.symbol.lower()}@depth@100ms"], take)
        books.append(Stitched(self.call("depth", symbol=self.symbol, limit=1000)))
        feed.events.append(books[0].book())
        return feed

    def _user(self, kind: str, show: Callable[[dict[str, Any]], Any]) -> Feed:
        key = self.api.new_listen_key()["listenKey"]
        assert self.api.renew_listen_key(key) == {}

        def take(feed: Feed, event: dict[str, Any]) -> None:
            if event["e"] == kind:
                feed.events.append(show(event))

        return self._feed([key], take)

    def watch_executions(self) -> Feed:
        return self._user("executionReport", execution)

    def watch_balances(self) -> Feed:
        return self._user("outboundAccountPosition", balances)

    def watch_lists(self) -> Feed:
        return self._user("listStatus", list_status)

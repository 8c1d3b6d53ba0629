"""The admin API of settlement: dead letters and reconciliation, for admins only."""

import uuid

from tests.e2e.venue import Venue


async def test_dead_letters_and_reconciliation_over_the_admin_api(venue: Venue) -> None:
    admin = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('admin',))}"}
    symbol = venue.market()
    base = symbol.split("/", maxsplit=1)[0]
    buyer, seller = await venue.trader(USDT="1000"), await venue.trader(**{base: "10"})
    running = venue.running
    await running.settlement.pause()
    await seller.order(symbol, "SELL", "1", "100.00")
    _, [trade] = await buyer.order(symbol, "BUY", "1", "100.00")
    await running.pool.execute("UPDATE settlement_instructions SET status = 'FAILED', last_reason = 'planted'")
    await running.settlement.resume()
    trader = {"Authorization": f"Bearer {venue.token(buyer.user_id)}"}
    assert (await venue.http.get("/api/v1/admin/dead-letters", headers=trader)).status_code == 403
    listed = (await venue.http.get("/api/v1/admin/dead-letters", headers=admin)).json()["data"]
    letter = next(row for row in listed if row["kind"] == "SETTLE")
    assert (letter["trade_id"], letter["last_reason"]) == (trade["id"], "planted")
    path = f"/api/v1/admin/dead-letters/{letter['id']}"
    assert (await venue.http.get(path, headers=admin)).json()["data"] == letter
    missing = await venue.http.post(f"{path}/retry", json={}, headers=admin)
    assert missing.status_code == 400
    for row in listed:
        again = f"/api/v1/admin/dead-letters/{row['id']}/retry"
        assert (await venue.http.post(again, json={"reason": "try"}, headers=admin)).status_code == 200
    await venue.settled()
    gone = await venue.http.get(path, headers=admin)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "DEAD_LETTER_NOT_FOUND")
    done = await venue.http.post(
        "/api/v1/admin/reconciliation", json={"repair": True, "reason": "drill"}, headers=admin
    )
    assert done.json()["data"]["differences"] == []
    last = (await venue.http.get("/api/v1/admin/reconciliation", headers=admin)).json()["data"]
    assert last == done.json()["data"]
    actions = [row[0] for row in await running.pool.fetch("SELECT action FROM admin_audit ORDER BY audit_id")]
    assert actions == ["dead_letter.retry"] * len(listed) + ["reconciliation.repair"]

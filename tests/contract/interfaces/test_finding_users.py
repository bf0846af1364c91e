"""Who finds whom by e-mail address, over HTTP and gRPC."""

from __future__ import annotations

from server.wire import messages as m
from tests.contract.interfaces.callers import both_interfaces
from tests.support.hub import RunningHub, finished, running_hub, start

ANN, BOB, EVE, STRANGER = "ann@firm.example", "bob@firm.example", "eve@other.example", "zoe@free.example"


async def found(hub: RunningHub, by: str, email: str) -> list[str]:
    """The ids that a caller finds: the same on both interfaces."""
    async with both_interfaces(hub, by) as (http, caller):
        told = (await http.get(f"/api/users?email={email}")).raise_for_status().json()["items"]
        request = m.FindUsersRequest(email=email)
        answer = await caller.users.FindUsers(request, metadata=caller.metadata)
    users = [(user.user_id, user.email) for user in answer.users]
    assert [(each["user_id"], each["email"]) for each in told] == users
    return [user_id for user_id, _ in users]


async def ids_of(hub: RunningHub, *emails: str) -> list[str]:
    """The ids of users, who have called then."""
    ids = []
    for email in emails:
        async with hub.client(email) as client:
            ids.append((await client.call("GET", "/api/me"))["user_id"])
    return ids


async def test_users_of_one_domain_find_each_other_where_the_operator_says_so(database: str) -> None:
    async with running_hub(database, directory_domains=("Firm.example", "other.example")) as hub:
        ann, bob, _, zoe = await ids_of(hub, ANN, BOB, EVE, STRANGER)
        assert await found(hub, ANN, BOB) == [bob]
        assert await found(hub, BOB, "ANN@FIRM.example") == [ann]
        # Not of another domain, even if its users find each other, too; nor of one that merely ends the same.
        assert await found(hub, EVE, ANN) == await found(hub, ANN, EVE) == []
        for stranger in (STRANGER, "eve@evil-firm.example", "eve@firm.example.evil.example", "firm.example"):
            assert await found(hub, stranger, ANN) == []
        # Nor of a domain that is not named.
        assert await found(hub, "yan@free.example", STRANGER) == []
        assert await found(hub, STRANGER, STRANGER) == [zoe]
        await hub.core.pool.execute("UPDATE users SET disabled_at = now() WHERE email = $1", BOB)
        assert await found(hub, ANN, BOB) == []


async def test_an_owner_finds_those_whose_address_the_access_list_shows_and_nobody_else(
    database: str,
) -> None:
    async with running_hub(database) as hub:
        ann, bob, eve = await ids_of(hub, ANN, BOB, EVE)
        async with hub.client(ANN) as client, hub.client(BOB) as bobs, hub.client(EVE) as eves:
            proposal = (await finished(client, await start(client, "[[replay:short_run]]")))["id"]
            access = f"/api/proposals/{proposal}/access"
            assert await found(hub, ANN, BOB) == []
            for user_id in (bob, eve):
                await client.call("PUT", f"{access}/{user_id}", {"access_type": "viewer"})
            assert await found(hub, ANN, BOB) == []  # Bob has not accepted.
            await bobs.call("POST", f"{access}/accept")
            await eves.call("POST", f"{access}/accept")
            assert await found(hub, ANN, BOB) == [bob]
            # A viewer sees no address of the list.
            assert await found(hub, BOB, EVE) == await found(hub, BOB, ANN) == []
            await client.call("PUT", f"{access}/{bob}", {"access_type": "owner"})
            assert await found(hub, BOB, EVE) == [eve]
            assert await found(hub, BOB, ANN) == [ann]

"""The role registry: from the name in an actor spec to the class that plays it.

A user's own strategy is named "package.module:Class" and needs no entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.errors import RoleError
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import import_role_module

#: Where each role's class is; imported only in the worker that hosts it.
ROLES: Mapping[str, str] = {
    "market_data": "actors.market_data:MarketData",
    "reference": "actors.reference:Reference",
    "order_gateway": "actors.order_gateway:OrderGateway",
    "account": "actors.account:Account",
    "journal_keeper": "actors.journal_care:JournalKeeper",
    "store": "actors.persistence.writer:StoreActor",
    "mirror": "actors.persistence.mirror:MirrorActor",
    "shadow": "actors.shadow_watch:ShadowWatch",
    "market_maker": "actors.strategies.market_maker:MarketMaker",
}


def role_class(role: str) -> type[Actor]:
    """The class of a role.

    Raises:
        RoleError: no such role, module or class, or the class is no Actor.
    """
    path = ROLES.get(role, role)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        raise RoleError(
            f'unknown role {role!r} (known: {", ".join(sorted(ROLES))}, or "package.module:Class")'
        )
    module = import_role_module(role, module_name)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Actor)):
        raise RoleError(f"role {role!r}: {module_name} has no actor class {class_name!r}")
    return found


def make_actor(role: str, context: Context, settings: Mapping[str, Any]) -> Actor:
    """Make the actor of a role.

    Raises:
        RoleError: the role is not known.
        SettingsError: the settings do not fit it.
    """
    return role_class(role)(context, settings)

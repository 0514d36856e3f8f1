"""Names that Azure takes for no administrator of a VM."""

from __future__ import annotations

from typing import Final

# Windows' and Azure's own reserved names (REST: Virtual Machines, OSProfile.adminUsername).
DISALLOWED_USERS: Final = frozenset(
    [
        "administrator", "admin", "user", "user1", "test", "user2", "test1", "user3", "admin1", "1", "123",
        "a", "actuser", "adm", "admin2", "aspnet", "backup", "console", "david", "guest", "john", "owner",
        "root", "server", "sql", "support", "support_388945a0", "sys", "test2", "test3", "user4", "user5",
        "video",
    ]
)  # fmt: skip

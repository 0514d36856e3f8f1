"""What the expressions of tests see: parameters, variables, a user function, loops, a group `rg`."""

from datetime import UTC, datetime

from vmstamp.arm.template.scope import Place, Scope, UserFunction, known

PLACE = Place(
    {"id": "/subscriptions/sub", "subscriptionId": "sub", "tenantId": "ten", "displayName": "one"},
    {"tenantId": "ten"},
    {"objectId": "who", "tenantId": "ten", "userPrincipalName": ""},
    {"id": "/subscriptions/sub/resourceGroups/rg", "name": "rg", "location": "westeurope"},
    {"name": "deploy1"},
    {"name": "vmstamp"},
    lambda name: {
        "namespace": name,
        "resourceTypes": [{"resourceType": "disks", "apiVersions": ["2024-01-01"]}],
    },
)
PARAMETERS = {
    "text": "one",
    "object": {"One": "a", "two": {"three": [1, 2, 3]}},
    "dogs": [
        {"name": "Evie", "age": 5, "interests": ["Ball", "Frisbee"]},
        {"name": "Casper", "age": 3, "interests": ["Other dogs"]},
        {"name": "Indy", "age": 2, "interests": ["Butter"]},
        {"name": "Kira", "age": 8, "interests": ["Rubs"]},
    ],
    "nothing": None,
    "yes": True,
}
SCOPE = Scope(
    PLACE,
    known(PARAMETERS, "parameter"),
    known({"var": "value"}, "variable"),
    {"contoso.greet": UserFunction("contoso.greet", ("who",), "[concat('hello ', parameters('who'))]")},
    now=datetime(2020, 4, 7, 14, 53, 14, 123456, tzinfo=UTC),
    loops={"outer": 3, "": 1},
)

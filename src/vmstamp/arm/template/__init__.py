"""Templates: their expressions, what they mean as a graph of resources, and the deployments that run them.

The room inside the control plane:

    reader.py        the text of a template: JSON with comments and multi-line strings, positions kept
    expressions.py   the grammar of `[...]` and its tree
    functions/       the functions that depend on nothing but their arguments, a module per subject
    evaluate.py      trees and documents to values, in a scope;  forms.py, in_scope.py: its functions
    scope.py         what an expression can see: parameters, variables, loops, the place deployed to
    template.py      a template's sections checked;  parameters.py: what it is given
    unroll.py        resources, loops and conditions to steps (step.py);  graph.py: what waits for what
    outputs.py       what a deployment tells when all is made
    preflight.py     what can be known to be wrong before anything is done
    run.py           the steps done, side by side, each a request at the control plane's own door
    deployments.py   the resource type Microsoft.Resources/deployments: begun, canceled, taken up again
    spec.py          a deployment;  opening.py: from a request to one;  places.py: where it goes
    execution.py     its life;  kept.py: what is stored of it;  documents.py: what it shows
    request.py       what a request says;  links.py: linked templates;  routes.py: which request means what
    what_if.py       what a deployment would change;  export.py: a group as a template

Everything above `run.py` is pure. It knows the engine's words (`arm/types.py`), never a resource type.
"""

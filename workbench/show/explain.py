"""A verdict in words for someone who has never met the kind: what it means for this very file, from its evidence."""

from __future__ import annotations

from ..files import registry
from ..kind import Detection
from ..kind.operators import FEATURES
from ..words import listed

# What a part of an op_type's or class's name says of a model, as the end of "It …".
_ML = {
    "predicts with decision trees, chains of yes-or-no questions about the inputs": ("Tree", "Forest", "Boost"),
    "multiplies each input by a learnt number and adds up": ("Linear", "Logistic", "Ridge", "Lasso"),
    "compares the input with stored examples (support vectors)": ("SVM", "SVC", "SVR"),
    "measures how far the input is from stored examples, and the nearest decide": ("TopK", "Neighbors"),
    "measures how far the input is from stored centres, and the nearest decides": ("ArgMin", "KMeans"),
    "computes how likely the input is under stored distributions": ("ReduceLogSumExp", "Mixture", "NaiveBayes"),
    "counts words or word pieces": ("TfIdf", "Tfidf", "CountVectorizer"),
}
_DL = {
    "slides small learnt filters over its input (Conv)": ("Conv",),
    "reads a sequence step by step with a memory ({})": ("LSTM", "GRU", "RNN"),
    "weighs the parts of its input against each other ({})": ("Attention",),
}


def in_words(found: Detection) -> str:
    """One short paragraph, plain text; names in it may come from the file. Empty where the file is no model."""
    return {"ML": _ml, "DL": _dl, "SNN": _snn, "unknown": _unknown}.get(found.kind or "", lambda found: "")(found)


def _ml(found: Detection) -> str:
    says = "Classical machine learning: a formula or rules, whose numbers were learnt from examples."
    does = _does(_ML, found)
    if prepares := sorted(FEATURES & {name.rpartition(":")[2] for name in _named(found)}):
        does.append(f"prepares its inputs ({', '.join(prepares[:3])})")
    return _this_one(says, does)


def _dl(found: Detection) -> str:
    says = "Deep learning: a neural network, layers of numbers learnt from examples, one after another."
    does = _does(_DL, found)
    if size := ((found.components or {}).get("graph") or {}).get("parameters", 0):
        does.append(f"holds {size:,} stored numbers")
    return _this_one(says, does)


def _snn(found: Detection) -> str:
    says = (
        "A spiking neural network: its neurons add up what comes in over many time steps, and each sends a spike, a "
        "short signal, when its voltage passes a threshold."
    )
    header = found.header
    if header is not None and not registry.runs_over_time(header):
        return f"{says} No operator here is called a neuron: ordinary operators do what one does."
    if header is not None or found.format == "NIR":
        return f"{says} ONNX Runtime, Nengo and NengoDL run it, and Nengo GUI shows it at work."
    return says


def _unknown(found: Detection) -> str:
    return "Models of several kinds can look like this, and the workbench does not guess."


def _named(found: Detection) -> list[str]:
    """What speaks for the verdict: op_types, or the class a file that is not ONNX names."""
    return [s.value for s in found.evidence if s.signal in ("op_type", "format") and s.supports == found.kind]


def _does(words: dict[str, tuple[str, ...]], found: Detection) -> list[str]:
    """The first two of `words` that fit."""
    fitting = []
    for text, parts in words.items():
        if part := next((part for name in _named(found) for part in parts if part in name), None):
            fitting.append(text.format(part))
    return fitting[:2]


def _this_one(says: str, does: list[str]) -> str:
    return f"{says} This one {'; it also '.join(does)}." if does else says


def difference(found: Detection) -> str:
    """Why the paper's rule and ours say different things of this file, in a sentence; plain text, as `in_words`.

    Empty where both agree, and for files that are not ONNX.
    """
    if found.components is None or found.paper_rule.kind == found.kind:
        return ""
    domain, producer = found.components["domain"], found.components["producer_name"] or "an unnamed tool"
    theirs = {
        "SNN": "the paper's rule believes the name of an op_type",
        "ML": f"the paper's rule believes the domain, in which {producer} wrote “{domain}”",
        "DL": f"the paper's rule believes the domain, in which {producer} wrote “{domain}”",
    }.get(found.paper_rule.kind or "")
    if theirs is None:
        wrote = f"wrote “{domain}” into this field" if domain else "left this field empty"
        theirs = f"the paper's rule knows the domains “ai.onnx” and “onnx” only, and {producer} {wrote}"
    deciding = found.deciding
    names = listed(dict.fromkeys(signal.value for signal in deciding if signal.signal == "op_type"))
    signals = {signal.signal for signal in deciding}
    ours = "finds nothing in the file that settles it"
    if "dynamics" in signals:
        ours = "follows what the operators do together, and finds neurons that fire and reset"
    elif names:
        ours = f"looks at every operator, and finds {names[:120]}"
    elif "network" in signals:
        ours = "follows the numbers through the graph, and finds learnt layers one after another"
    elif signals:
        ours = f"also asks who made the file ({producer})"
    return f"They differ: {theirs}; ours {ours}."

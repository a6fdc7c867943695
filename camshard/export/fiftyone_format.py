"""The parts of FiftyOne's format on disk, `fo.types.FiftyOneDataset`, in MongoDB's extended JSON.

Written after what FiftyOne 1.22's own exporter writes; `FORMAT_VERSION` has older and newer ones migrate it.
"""

import base64
import hashlib
import io
import re
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = "1.0.0"
_FIELDS, _LABELS = "fiftyone.core.fields", "fiftyone.core.labels"
_RESERVED = {  # of fiftyone.core.sample.Sample
    "id", "filepath", "tags", "metadata", "media_type", "created_at", "last_modified_at", "pk", "frames",
    "dataset", "dataset_id", "filename", "in_dataset", "field_names", "rand", "copy", "save", "reload",
}  # fmt: skip

Document = dict[str, Any]


def field_name(text: str, taken: Collection[str]) -> str:
    """Return a name that FiftyOne accepts and that is not taken."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).lstrip("_") or "field"
    name = f"column_{name}" if name in _RESERVED else name
    while name in taken:
        name += "_"
    return name


def plain_field(name: str, kind: str, description: str | None = None) -> Document:
    """Return the declaration of a field of `kind` String, Int, Float, Boolean, …"""
    return _field(name, f"{kind}Field", description=description)


def label_field(name: str, kind: str, description: str | None = None) -> Document:
    """Return the declaration of a field of labels: `kind` Classification, Classifications or Heatmap."""
    if kind == "Classifications":
        inner = _field(
            "classifications", "ListField", subfield=f"{_FIELDS}.EmbeddedDocumentField",
            embedded_doc_type=f"{_LABELS}.Classification", fields=_label_parts("Classification"),
        )  # fmt: skip
        parts = [inner, plain_field("logits", "Vector")]
    else:
        parts = _label_parts(kind)
    return _field(
        name,
        "EmbeddedDocumentField",
        embedded_doc_type=f"{_LABELS}.{kind}",
        fields=parts,
        description=description,
    )


def dataset_document(name: str, fields: list[Document], classes: tuple[str, ...], info: Document) -> Document:
    """Return metadata.json: a dataset with these fields besides those that every dataset has."""
    return {
        "name": name,
        "version": FORMAT_VERSION,
        "media_type": "image",
        "tags": [],
        "info": info,
        "classes": {},
        "default_classes": list(classes),
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "group_media_types": {},
        "sample_fields": _fields_of_every_dataset() + fields,
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def sample(own_id: str, filepath: str, values: Document) -> Document:
    """Return one sample of samples.json."""
    return {
        "_id": _object_id(own_id),
        "filepath": filepath,
        "tags": [],
        "_media_type": "image",
        "_rand": int(_object_id(own_id)["$oid"][:12], 16) / 16**12,  # by which FiftyOne shuffles
        **values,
    }


def classification(
    own_id: str, label: str, confidence: float | None = None, logits: NDArray[np.float32] | None = None
) -> Document:
    """Return a label; `own_id` is what tells it from all others."""
    return _label(own_id, "Classification", label=label, confidence=confidence, logits=_vector(logits))


def classifications(several: list[Document], logits: NDArray[np.float32] | None = None) -> Document:
    """Return the labels of an image that has several."""
    document = {"_cls": "Classifications", "classifications": several}
    return document if logits is None else document | {"logits": _vector(logits)}


def heatmap(own_id: str, map_path: str) -> Document:
    """Return a heatmap in a file of grey levels, 0..255, named relative to the dataset's folder."""
    return _label(own_id, "Heatmap", map_path=map_path)


def _fields_of_every_dataset() -> list[Document]:
    return [
        plain_field("id", "ObjectId") | {"db_field": "_id"},
        plain_field("filepath", "String"),
        _field("tags", "ListField", subfield=f"{_FIELDS}.StringField"),
        _field(
            "metadata", "EmbeddedDocumentField", embedded_doc_type="fiftyone.core.metadata.ImageMetadata",
            fields=[
                plain_field("size_bytes", "Int"), plain_field("mime_type", "String"),
                plain_field("width", "Int"), plain_field("height", "Int"), plain_field("num_channels", "Int"),
            ],
        ),
        plain_field("_media_type", "String"),
        plain_field("_rand", "Float"),
        plain_field("_dataset_id", "ObjectId"),
        plain_field("created_at", "DateTime") | {"read_only": True},
        plain_field("last_modified_at", "DateTime") | {"read_only": True},
    ]  # fmt: skip


def _label_parts(kind: str) -> list[Document]:
    parts = [
        plain_field("id", "ObjectId") | {"db_field": "_id"},
        _field("tags", "ListField", subfield=f"{_FIELDS}.StringField"),
    ]
    if kind == "Heatmap":
        span = _field("range", "HeatmapRangeField", subfield=f"{_FIELDS}.FloatField")
        return [*parts, plain_field("map", "Array"), plain_field("map_path", "String"), span]
    own = (("label", "String"), ("confidence", "Float"), ("logits", "Vector"))
    return [*parts, *(plain_field(name, one) for name, one in own)]


def _field(name: str, kind: str, **differing: Any) -> Document:
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{kind}",
        "embedded_doc_type": None,
        "subfield": None,
        "fields": [],
        "db_field": name,
        "description": None,
        "info": None,
        "read_only": False,
        **differing,
    }


def _label(own_id: str, kind: str, **values: Any) -> Document:
    given = {name: value for name, value in values.items() if value is not None}
    return {"_id": _object_id(own_id), "_cls": kind, "tags": [], **given}


def _object_id(own_id: str) -> Document:
    digest = hashlib.sha256(own_id.encode("utf-8", "surrogatepass")).hexdigest()
    return {"$oid": digest[:24]}


def _vector(values: NDArray[np.float32] | None) -> Document | None:
    """Return a vector as FiftyOne stores it: what numpy.save writes, compressed with zlib."""
    if values is None:
        return None
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    text = base64.b64encode(zlib.compress(file.getvalue())).decode()
    return {"$binary": {"base64": text, "subType": "00"}}

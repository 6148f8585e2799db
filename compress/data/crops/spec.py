"""What `data crops` can be told; the defaults are the trash competition's, for TACO's categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from compress.data.notes import few
from compress.errors import InputError
from compress.spec import Spec

Classes = dict[str, tuple[str, ...]]

# TACO's sixty categories, then those of the competition's own COCO files. By material, as waste is sorted:
# what mixes materials (blister packs, laminated bags) or has no class of its own is dropped.
CLASSES: Classes = {
    "Metal": (
        "Aluminium foil",
        "Aerosol",
        "Drink can",
        "Food Can",
        "Metal bottle cap",
        "Metal lid",
        "Pop tab",
        "Scrap metal",
        "Metal",
    ),
    "Paper": (
        "Corrugated carton",
        "Egg carton",
        "Other carton",
        "Pizza box",
        "Toilet tube",
        "Magazine paper",
        "Normal paper",
        "Tissues",
        "Wrapping paper",
        "Paper bag",
        "Paper straw",
        "Paper",
    ),
    "Paperpack": ("Drink carton", "Meal carton", "Paper cup", "Paper pack"),
    "Plastic": (
        "Clear plastic bottle",
        "Other plastic bottle",
        "Plastic bottle cap",
        "Plastic lid",
        "Disposable plastic cup",
        "Other plastic cup",
        "Disposable food container",
        "Other plastic container",
        "Spread tub",
        "Tupperware",
        "Squeezable tube",
        "Plastic straw",
        "Plastic utensils",
        "Six pack rings",
        "Other plastic",
        "Plastic",
    ),
    "Plasticbag": (
        "Crisp packet",
        "Garbage bag",
        "Other plastic wrapper",
        "Plastic film",
        "Plastic glooves",
        "Polypropylene bag",
        "Single-use carrier bag",
        "Plastic bag",
    ),
    "Styrofoam": ("Foam cup", "Foam food container", "Styrofoam piece", "Styrofoam"),
}
DROP: tuple[str, ...] = (
    "Aluminium blister pack",
    "Battery",
    "Broken glass",
    "Carded blister pack",
    "Cigarette",
    "Food waste",
    "Glass bottle",
    "Glass cup",
    "Glass jar",
    "Plastified paper bag",
    "Rope & strings",
    "Shoe",
    "Unlabeled litter",
    "General trash",
    "Glass",
    "Clothing",
    "UNKNOWN",
)


class SplitSpec(Spec):
    """Parts of all crops; train is the rest. All crops of one image go to one split."""

    val: float = Field(0.1, ge=0, lt=1, description="0: no val/; training then holds out a part of train.")
    test: float = Field(0.2, ge=0, lt=1, description="For test/.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the order in which images are dealt out.")

    @model_validator(mode="after")
    def _room_for_train(self) -> SplitSpec:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val:g} and test {self.test:g} leave nothing for train")
        return self


class CropSpec(Spec):
    """How COCO boxes become a classification set.

    The competition publishes its classes and the rule on overlaps (0.40, the larger goes), and says that
    extreme aspect ratios and unbalanced classes were dropped; ``max_aspect``, ``min_side`` and the split
    are ours. A box is judged as annotated, cut at the image's edges, before ``margin``.
    """

    classes: Classes | Literal["categories"] = Field(
        CLASSES, description="The categories of each class; 'categories': each is a class of its own name."
    )
    drop: tuple[str, ...] = Field(
        DROP,
        description="Categories to leave out; where classes is 'categories', none unless named here.",
    )
    iou: float | None = Field(
        0.40, gt=0, le=1, description="Of two boxes of one image that overlap so far one goes; null: none."
    )
    keep: Literal["smaller", "larger"] = Field("smaller", description="Which of the two stays.")
    max_aspect: float | None = Field(4.0, ge=1, description="Longer side over shorter side; null: any.")
    min_side: float = Field(16.0, ge=1, description="Of the box's shorter side, pixels of the image.")
    margin: float = Field(0.0, ge=0, le=1, description="Around the box on each side, part of that side.")
    square: Literal["pad", "no"] = Field(
        "pad", description="pad: black beside the shorter side, so that no later resize distorts."
    )
    orientation: Literal["auto", "upright", "raw"] = Field(
        "auto",
        description="Whether boxes refer to the image as EXIF turns it; auto: by its size, upright in doubt.",
    )
    quality: int = Field(95, ge=1, le=100, description="Of the JPEG files.")
    split: SplitSpec = SplitSpec()
    max_bad: float = Field(
        0.01, ge=0, le=1, description="Part of the images that may be missing or unreadable."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_of_these_classes(cls, data: Any) -> Any:
        """The default of ``drop`` belongs to the competition's classes, not to one for each category."""
        if isinstance(data, Mapping) and data.get("classes") == "categories":
            return {"drop": (), **data}
        return data

    @field_validator("classes")
    @classmethod
    def _folders(cls, classes: Classes | str) -> Classes | str:
        odd = [] if isinstance(classes, str) else [name for name in classes if not _folder(name)]
        if odd:
            raise ValueError(f"class names become folders, which cannot be called {few(map(repr, odd))}")
        if not isinstance(classes, str) and len(classes) < 2:
            raise ValueError(f"a classification set needs two classes or more, found {len(classes)}")
        return classes

    @model_validator(mode="after")
    def _one_place_each(self) -> CropSpec:
        places = list(self.drop)
        if not isinstance(self.classes, str):
            places += [name for names in self.classes.values() for name in names]
        if twice := sorted({name for name in places if places.count(name) > 1}):
            raise ValueError(f"categories named more than once in classes and drop: {few(map(repr, twice))}")
        return self

    def class_of(self, categories: Sequence[str]) -> dict[str, str | None]:
        """The class of each category, None for one to drop.

        Raises:
            InputError: a category that is neither in ``classes`` nor in ``drop``.
        """
        if isinstance(self.classes, str):
            found: dict[str, str | None] = {name: name for name in categories if name not in self.drop}
        else:
            found = {name: label for label, names in self.classes.items() for name in names}
        found |= dict.fromkeys(self.drop)
        if lost := [repr(name) for name in categories if name not in found]:
            raise InputError(
                f"{len(lost)} categories are neither in classes nor in drop: {few(lost)}; name each in one "
                "of them, or give --set classes=categories for a class each"
            )
        if odd := [name for name in categories if (label := found[name]) is not None and not _folder(label)]:
            raise InputError(f"categories become folders, which cannot be called {few(map(repr, odd))}")
        return {name: found[name] for name in categories}


def _folder(name: str) -> bool:
    """Whether a name can be a folder's anywhere; not hidden, for hidden ones are passed over."""
    return (
        bool(name) and name == name.strip(" .") and not set(name) & set('/\\:*?"<>|') and name.isprintable()
    )

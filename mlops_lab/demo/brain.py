"""Simulated subjects for the demo: smooth random deformations and intensity changes of one averaged brain.

The brain is the MNI152 T1 template with its grey- and white-matter maps, read from the installed nilearn package.
Everything here is deterministic: the same subject number gives the same arrays with the same library versions.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

from .errors import MissingComponent

BACKGROUND, GREY, WHITE = 0, 1, 2
"""Values of a label image."""

SLICE_SHAPE = (160, 192)
"""Pixels of one axial slice, left-right by back-front, 1 mm each."""
SLICE_HEIGHTS = (-4.0, 10.0, 24.0, 40.0)
"""Heights of a subject's slices above the anterior commissure, in mm of MNI space, lowest first."""

_SEED = 152
_PLANE_ORIGIN = (-79.5, -112.5)
_CONTROL_SPACING = 30.0
_CONTROL_ORIGIN = (-150.0, -180.0, -120.0)
_CONTROL_SHAPE = (11, 12, 9)
_DISPLACEMENT = 3.0
_NOISE = 0.05


@dataclass(frozen=True)
class Brain:
    """The averaged brain in memory: three volumes on one 1 mm grid."""

    t1: Any
    """float32 array, shape (x, y, z), 0 to 1."""
    grey: Any
    """float32 array like `t1`: probability of grey matter."""
    white: Any
    """float32 array like `t1`: probability of white matter."""
    world_to_voxel: Any
    """4 x 4 matrix from mm of MNI space to voxel indices."""


@dataclass(frozen=True)
class Slice:
    """One axial slice of one simulated subject."""

    image: Any
    """int16 array of shape `SLICE_SHAPE`; arbitrary intensity units, about 0 to 1000."""
    label: Any
    """uint8 array of shape `SLICE_SHAPE`: 0 background, 1 grey matter, 2 white matter."""
    affine: Any
    """4 x 4 matrix from pixel indices to mm."""


def load_brain() -> Brain:
    """Read the averaged brain from the installed nilearn package.

    Raises
    ------
    MissingComponent
        When nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise MissingComponent(
            f"The demo brain comes with the package nilearn, which cannot be imported here ({error}).",
            "Install it with: pip install 'mlops-lab[demo]'",
        ) from error
    import numpy as np

    t1 = datasets.load_mni152_template(resolution=1)
    grey = datasets.load_mni152_gm_template(resolution=1)
    white = datasets.load_mni152_wm_template(resolution=1)
    return Brain(
        t1=np.asarray(t1.dataobj, dtype=np.float32),
        grey=np.asarray(grey.dataobj, dtype=np.float32),
        white=np.asarray(white.dataobj, dtype=np.float32),
        world_to_voxel=np.linalg.inv(t1.affine),
    )


def simulate_subject(brain: Brain, number: int) -> list[Slice]:
    """Make the slices of one subject.

    Parameters
    ----------
    brain
        What :func:`load_brain` gave.
    number
        The subject's number; it alone decides deformation, contrast and noise.

    Returns
    -------
    list of Slice
        One per entry of `SLICE_HEIGHTS`, in that order.
    """
    import numpy as np
    from scipy import ndimage

    random = np.random.default_rng([_SEED, number])
    linear, offset = _random_affine(random)
    control = random.normal(0.0, _DISPLACEMENT, size=(3, *_CONTROL_SHAPE))
    lift = random.uniform(-4.0, 4.0)
    gamma, gain = random.uniform(0.75, 1.35), random.uniform(700.0, 1000.0)
    shading = random.normal(0.0, 0.12, size=(4, 4))

    slices = []
    for height in SLICE_HEIGHTS:
        world = _plane(height + lift)
        warped = linear @ world + offset[:, None]
        grid = (world - np.array(_CONTROL_ORIGIN)[:, None]) / _CONTROL_SPACING
        warped += np.stack([ndimage.map_coordinates(c, grid, order=3, mode="nearest") for c in control])
        voxels = brain.world_to_voxel[:3, :3] @ warped + brain.world_to_voxel[:3, 3:]

        t1, grey, white = (
            ndimage.map_coordinates(volume, voxels, order=1).reshape(SLICE_SHAPE)
            for volume in (brain.t1, brain.grey, brain.white)
        )
        label = np.argmax([1.0 - grey - white, grey, white], axis=0).astype(np.uint8)
        field = np.exp(ndimage.zoom(shading, np.array(SLICE_SHAPE) / 4, order=3, mode="nearest", grid_mode=True))
        signal = np.clip(t1, 0.0, 1.0) ** gamma * field
        noise = random.normal(0.0, _NOISE, size=(2, *SLICE_SHAPE))
        # The magnitude of a complex signal with noise in both channels: Rician, as in a real scanner.
        magnitude = np.hypot(signal + noise[0], noise[1])
        affine = np.eye(4)
        affine[:3, 3] = (*_PLANE_ORIGIN, height + lift)
        slices.append(Slice(np.rint(gain * magnitude).astype(np.int16), label, affine))
    return slices


def swap_grey_and_white(label: Any) -> Any:
    """Give the label image that an annotator draws with the two brushes mixed up."""
    import numpy as np

    return np.array([BACKGROUND, WHITE, GREY], dtype=label.dtype)[label]


def nifti_bytes(pixels: Any, affine: Any) -> bytes:
    """Write an array as the bytes of a ``.nii.gz`` file; the same input always gives the same bytes."""
    import nibabel

    image = nibabel.Nifti1Image(pixels, affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _plane(height: float) -> Any:
    """Give the mm coordinates of every pixel of an axial slice, shape (3, pixels)."""
    import numpy as np

    (x0, y0), (nx, ny) = _PLANE_ORIGIN, SLICE_SHAPE
    x, y = np.meshgrid(x0 + np.arange(nx), y0 + np.arange(ny), indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, height)])


def _random_affine(random: Any) -> tuple[Any, Any]:
    """Draw a small rotation, a small change of size per axis, and a small shift (mm)."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", random.normal(0.0, 4.0, size=3), degrees=True).as_matrix()
    scale = np.diag(random.uniform(0.92, 1.04, size=3))
    return rotation @ scale, random.normal(0.0, 2.5, size=3)

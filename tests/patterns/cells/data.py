# %%
# Eight small volumes with a sphere in each, written as NIfTI files, the way tutorials make data that need no download.
import os

import nibabel
import numpy as np
import torch
from monai.data import create_test_image_3d

os.makedirs("volumes", exist_ok=True)
for number in range(8):
    image, label = create_test_image_3d(24, 24, 24, num_seg_classes=1, rad_max=8, rad_min=4, random_state=np.random.RandomState(number))
    nibabel.save(nibabel.Nifti1Image(image.astype("float32"), np.eye(4)), f"volumes/image{number}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label.astype("uint8"), np.eye(4)), f"volumes/label{number}.nii.gz")
files = [{"img": f"volumes/image{n}.nii.gz", "seg": f"volumes/label{n}.nii.gz"} for n in range(8)]
train_files, val_files = files[:5], files[5:]
torch.set_num_threads(1)

# %% tracked
import logging
import sys
import tempfile
from glob import glob

import monai
from monai.data import create_test_image_3d, decollate_batch, list_data_collate
from monai.inferers import sliding_window_inference
from monai.metrics import DiceMetric
from monai.transforms import (
    Activations,
    AsDiscrete,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandCropByPosNegLabeld,
    ScaleIntensityd,
)


def main(tempdir):
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    for i in range(4):
        im, seg = create_test_image_3d(32, 32, 32, num_seg_classes=1, rad_max=8, rad_min=4, channel_dim=-1)
        nibabel.save(nibabel.Nifti1Image(im, np.eye(4)), os.path.join(tempdir, f"img{i:d}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image(seg, np.eye(4)), os.path.join(tempdir, f"seg{i:d}.nii.gz"))
    images = sorted(glob(os.path.join(tempdir, "img*.nii.gz")))
    segs = sorted(glob(os.path.join(tempdir, "seg*.nii.gz")))
    train_files = [{"img": img, "seg": seg} for img, seg in zip(images[:2], segs[:2])]
    val_files = [{"img": img, "seg": seg} for img, seg in zip(images[-2:], segs[-2:])]
    val_transforms = Compose(
        [
            LoadImaged(keys=["img", "seg"]),
            EnsureChannelFirstd(keys=["img", "seg"]),
            ScaleIntensityd(keys="img"),
        ]
    )
    train_transforms = Compose(
        [
            val_transforms,
            RandCropByPosNegLabeld(
                keys=["img", "seg"], label_key="seg", spatial_size=[16, 16, 16], pos=1, neg=1, num_samples=2
            ),
        ]
    )
    check_loader = monai.data.DataLoader(
        monai.data.Dataset(data=train_files, transform=train_transforms), batch_size=2, collate_fn=list_data_collate
    )
    check_data = monai.utils.misc.first(check_loader)
    train_loader = monai.data.DataLoader(
        monai.data.Dataset(data=train_files, transform=train_transforms),
        batch_size=1,
        shuffle=True,
        collate_fn=list_data_collate,
    )
    val_loader = monai.data.DataLoader(
        monai.data.Dataset(data=val_files, transform=val_transforms), batch_size=1, collate_fn=list_data_collate
    )
    dice_metric = DiceMetric(include_background=True, reduction="mean", get_not_nans=False)
    post_trans = Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = monai.networks.nets.UNet(
        spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8, 16), strides=(2, 2), num_res_units=2
    ).to(device)
    loss_function = monai.losses.DiceLoss(sigmoid=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    best_metric = -1
    for epoch in range(2):
        model.train()
        for batch_data in train_loader:
            inputs, labels = batch_data["img"].to(device), batch_data["seg"].to(device)
            optimizer.zero_grad()
            loss = loss_function(model(inputs), labels)
            loss.backward()
            optimizer.step()
            step_losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            for val_data in val_loader:
                val_images, val_labels = val_data["img"].to(device), val_data["seg"].to(device)
                val_outputs = sliding_window_inference(val_images, (16, 16, 16), 4, model)
                val_outputs = [post_trans(i) for i in decollate_batch(val_outputs)]
                dice_metric(y_pred=val_outputs, y=val_labels)
            metric = dice_metric.aggregate().item()
            dice_metric.reset()
            if metric > best_metric:
                best_metric = metric
                torch.save(model.state_dict(), "best_metric_model_segmentation3d_dict.pth")
    return best_metric


step_losses = []
with tempfile.TemporaryDirectory() as tempdir:
    best = main(tempdir)
# %%
import json

print(json.dumps({"losses": step_losses, "best": best}))

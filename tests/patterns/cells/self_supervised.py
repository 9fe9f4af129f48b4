# %%
from monai.data import DataLoader, Dataset
from monai.losses import ContrastiveLoss
from monai.networks.nets import AutoEncoder
from monai.transforms import Compose, CopyItemsd, EnsureChannelFirstd, LoadImaged, OneOf, RandCoarseDropoutd, RandSpatialCropd
from torch.nn import L1Loss

train_transforms = Compose(
    [
        LoadImaged(keys=["img"]),
        EnsureChannelFirstd(keys=["img"]),
        RandSpatialCropd(keys=["img"], roi_size=(16, 16, 16), random_size=False),
        CopyItemsd(keys=["img"], times=2, names=["gt_image", "img_2"], allow_missing_keys=False),
        OneOf(
            transforms=[
                RandCoarseDropoutd(keys=["img"], prob=1.0, holes=6, spatial_size=5, dropout_holes=True),
                RandCoarseDropoutd(keys=["img"], prob=1.0, holes=6, spatial_size=5, dropout_holes=False),
            ]
        ),
    ]
)
model = AutoEncoder(spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=(2, 2))
# %% tracked
max_epochs = 2
batch_size = 2
lr = 1e-4
step_loss_values, recon_values, cl_values = [], [], []
recon_loss = L1Loss()
contrastive_loss = ContrastiveLoss(temperature=0.05)
optimizer = torch.optim.Adam(model.parameters(), lr=lr)
train_loader = DataLoader(Dataset(data=train_files, transform=train_transforms), batch_size=batch_size, shuffle=True)
for epoch in range(max_epochs):
    model.train()
    for batch_data in train_loader:
        inputs, inputs_2, gt_input = batch_data["img"], batch_data["img_2"], batch_data["gt_image"]
        optimizer.zero_grad()
        outputs_v1 = model(inputs)
        outputs_v2 = model(inputs_2)
        flat_out_v1 = outputs_v1.flatten(start_dim=1, end_dim=4)
        flat_out_v2 = outputs_v2.flatten(start_dim=1, end_dim=4)
        r_loss = recon_loss(outputs_v1, gt_input)
        cl_loss = contrastive_loss(flat_out_v1, flat_out_v2)
        total_loss = r_loss + cl_loss * r_loss
        total_loss.backward()
        optimizer.step()
        step_loss_values.append(total_loss.item())
        recon_values.append(r_loss.item())
        cl_values.append(cl_loss.item())
# %%
import json

print(json.dumps({"total": step_loss_values, "recon": recon_values, "contrastive": cl_values}))

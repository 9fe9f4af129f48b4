# %%
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import Activations, AsDiscrete, Compose, EnsureChannelFirstd, LoadImaged, RandFlipd, ScaleIntensityd
from monai.utils import set_determinism

set_determinism(seed=7)
train_transforms = Compose(
    [
        LoadImaged(keys=["img", "seg"]),
        EnsureChannelFirstd(keys=["img", "seg"]),
        ScaleIntensityd(keys="img"),
        RandFlipd(keys=["img", "seg"], prob=0.5, spatial_axis=0),
    ]
)
val_transforms = Compose(
    [LoadImaged(keys=["img", "seg"]), EnsureChannelFirstd(keys=["img", "seg"]), ScaleIntensityd(keys="img")]
)
train_ds = CacheDataset(data=train_files, transform=train_transforms, progress=False)
train_loader = DataLoader(train_ds, batch_size=2, shuffle=True)
val_ds = CacheDataset(data=val_files, transform=val_transforms, progress=False)
val_loader = DataLoader(val_ds, batch_size=1)
model = UNet(spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,), num_res_units=1)
loss_function = DiceLoss(sigmoid=True)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
dice_metric = DiceMetric(include_background=True, reduction="mean")
post_trans = Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])
# %% tracked
max_epochs = 3
val_interval = 1
best_metric = -1
epoch_loss_values = []
seen_losses = []
for epoch in range(max_epochs):
    model.train()
    epoch_loss = 0
    step = 0
    for batch_data in train_loader:
        step += 1
        inputs, labels = batch_data["img"], batch_data["seg"]
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = loss_function(outputs, labels)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item()
        seen_losses.append(loss.item())
    epoch_loss /= step
    epoch_loss_values.append(epoch_loss)
    if (epoch + 1) % val_interval == 0:
        model.eval()
        with torch.no_grad():
            for val_data in val_loader:
                val_outputs = sliding_window_inference(val_data["img"], (16, 16, 16), 4, model)
                val_outputs = [post_trans(i) for i in decollate_batch(val_outputs)]
                dice_metric(y_pred=val_outputs, y=val_data["seg"])
            metric = dice_metric.aggregate().item()
            dice_metric.reset()
            if metric > best_metric:
                best_metric = metric
                torch.save(model.state_dict(), "best_metric_model.pth")
# %%
import json

print(json.dumps({"losses": seen_losses, "epochs": epoch_loss_values, "best": best_metric}))

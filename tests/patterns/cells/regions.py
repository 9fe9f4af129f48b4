# %%
from monai.data import DataLoader, PersistentDataset, decollate_batch
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import SegResNet
from monai.transforms import Activations, AsDiscrete, Compose, EnsureChannelFirstd, LoadImaged, MapTransform


class ConvertToRegionsd(MapTransform):
    def __call__(self, data):
        d = dict(data)
        for key in self.keys:
            d[key] = torch.cat([d[key] > 0, d[key] == 1, d[key] < 1]).float()
        return d


transform = Compose(
    [LoadImaged(keys=["img", "seg"]), EnsureChannelFirstd(keys=["img", "seg"]), ConvertToRegionsd(keys="seg")]
)
max_epochs = 2
model = SegResNet(blocks_down=[1, 1], blocks_up=[1], init_filters=8, in_channels=1, out_channels=3, dropout_prob=0.2)
loss_function = DiceLoss(smooth_nr=0, smooth_dr=1e-5, squared_pred=True, to_onehot_y=False, sigmoid=True)
optimizer = torch.optim.Adam(model.parameters(), 1e-4, weight_decay=1e-5)
lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max_epochs)
dice_metric = DiceMetric(include_background=True, reduction="mean")
dice_metric_batch = DiceMetric(include_background=True, reduction="mean_batch")
post_trans = Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])
# %% tracked
train_loader = DataLoader(PersistentDataset(train_files, transform, cache_dir="cache"), batch_size=1, shuffle=True)
val_loader = DataLoader(PersistentDataset(val_files, transform, cache_dir="cache"), batch_size=1)
metric_values_tc = []
for epoch in range(max_epochs):
    model.train()
    for batch_data in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(batch_data["img"]), batch_data["seg"])
        loss.backward()
        optimizer.step()
    lr_scheduler.step()
    model.eval()
    with torch.no_grad():
        for val_data in val_loader:
            val_outputs = [post_trans(i) for i in decollate_batch(model(val_data["img"]))]
            dice_metric(y_pred=val_outputs, y=val_data["seg"])
            dice_metric_batch(y_pred=val_outputs, y=val_data["seg"])
        metric = dice_metric.aggregate().item()
        metric_batch = dice_metric_batch.aggregate()
        metric_tc = metric_batch[0].item()
        metric_wt = metric_batch[1].item()
        metric_et = metric_batch[2].item()
        metric_values_tc.append(metric_tc)
        dice_metric.reset()
        dice_metric_batch.reset()
# %%
import json

print(json.dumps({"tc": metric_values_tc, "et": metric_et, "dice": metric}))

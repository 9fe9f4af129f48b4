# %%
from monai.data import DataLoader, Dataset, decollate_batch
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from monai.networks.nets import UNet
from monai.transforms import AsDiscrete, Compose, EnsureChannelFirstd, LoadImaged

torch.manual_seed(0)
network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
torch.save(network.state_dict(), "trained.pt")
# %% tracked
model = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
model.load_state_dict(torch.load("trained.pt", weights_only=True))
test_ds = Dataset(val_files, Compose([LoadImaged(["img", "seg"]), EnsureChannelFirstd(["img", "seg"])]))
test_loader = DataLoader(test_ds, batch_size=2)
dice = DiceMetric(include_background=False, reduction="mean_batch", get_not_nans=False)
surface_distance = HausdorffDistanceMetric(include_background=False, percentile=95)
to_onehot = AsDiscrete(to_onehot=2)
argmax = AsDiscrete(argmax=True, to_onehot=2)
model.eval()
with torch.no_grad():
    for batch in test_loader:
        predicted = [argmax(item) for item in decollate_batch(model(batch["img"]))]
        truth = [to_onehot(item) for item in decollate_batch(batch["seg"])]
        dice(predicted, truth)
        surface_distance(predicted, truth)
per_case = dice.get_buffer().flatten().tolist()
test_dice = dice.aggregate().item()
test_hd95 = surface_distance.aggregate().item()
# %%
import json

print(json.dumps({"dice": test_dice, "hd95": test_hd95, "cases": per_case}))

# %%
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanDice, StatsHandler, ValidationHandler, from_engine
from monai.inferers import SimpleInferer
from monai.losses import DiceLoss
from monai.networks.nets import SegResNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    ScaleIntensityd,
)

keys = ["image", "label"]
datalist = [{"image": item["img"], "label": item["seg"]} for item in files]
pre = Compose([LoadImaged(keys), EnsureChannelFirstd(keys), ScaleIntensityd("image")])
post = Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)])
net = SegResNet(spatial_dims=3, in_channels=1, out_channels=1, init_filters=8, blocks_down=(1, 1), blocks_up=(1,))
opt = torch.optim.Adam(net.parameters(), lr=1e-2)
# %% tracked
evaluator = SupervisedEvaluator(
    device=torch.device("cpu"),
    val_data_loader=DataLoader(Dataset(datalist[5:], pre), batch_size=1),
    network=net,
    inferer=SimpleInferer(),
    postprocessing=post,
    key_val_metric={"val_mean_dice": MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))},
)
trainer = SupervisedTrainer(
    device=torch.device("cpu"),
    max_epochs=2,
    train_data_loader=DataLoader(Dataset(datalist[:5], pre), batch_size=2),
    network=net,
    optimizer=opt,
    loss_function=DiceLoss(sigmoid=True),
    train_handlers=[ValidationHandler(1, evaluator, epoch_level=True)],
)
trainer.run()
# %%
import json

print(json.dumps({"dice": evaluator.state.metrics["val_mean_dice"], "iterations": trainer.state.iteration}))

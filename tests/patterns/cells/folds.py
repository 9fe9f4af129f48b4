# %%
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanDice, ValidationHandler, from_engine
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from monai.transforms import Activationsd, AsDiscreted, Compose, EnsureChannelFirstd, LoadImaged

transform = Compose([LoadImaged(keys=["img", "seg"]), EnsureChannelFirstd(keys=["img", "seg"])])
num = 2
folds = [CacheDataset(data=files[fold::num], transform=transform, progress=False) for fold in range(num)]
loaders = [DataLoader(folds[i], batch_size=2) for i in range(num)]


def train(index):
    net = UNet(spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loaders[index],
        network=net,
        prepare_batch=lambda batch, device, non_blocking: (batch["img"], batch["seg"]),
        inferer=SlidingWindowInferer(roi_size=(16, 16, 16), sw_batch_size=4, overlap=0.5),
        postprocessing=Compose([Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]),
        key_val_metric={"val_mean_dice": MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))},
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=loaders[1 - index],
        network=net,
        prepare_batch=lambda batch, device, non_blocking: (batch["img"], batch["seg"]),
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
        loss_function=DiceLoss(sigmoid=True),
        train_handlers=[ValidationHandler(validator=evaluator, interval=1, epoch_level=True)],
    )
    trainer.run()
    dices.append(evaluator.state.metrics["val_mean_dice"])
    return net


# %% tracked
dices = []
models = [train(i) for i in range(num)]
# %%
import json

print(json.dumps({"dices": dices}))

# %%
import ignite
from monai.data import ArrayDataset, DataLoader, decollate_batch
from monai.handlers import MeanDice, MLFlowHandler, StatsHandler
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from monai.transforms import Activations, AsDiscrete, Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensity

imtrans = Compose([LoadImage(image_only=True), ScaleIntensity(), EnsureChannelFirst(), Resize((16, 16, 16))])
segtrans = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Resize((16, 16, 16))])
images, segs = [item["img"] for item in files], [item["seg"] for item in files]
net = UNet(spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,), num_res_units=1)
opt = torch.optim.Adam(net.parameters(), 1e-3)
trainer = ignite.engine.create_supervised_trainer(net, opt, DiceLoss(sigmoid=True), torch.device("cpu"), False)
checkpoint_handler = ignite.handlers.ModelCheckpoint("./logs", "net", n_saved=10, require_empty=False)
trainer.add_event_handler(ignite.engine.Events.EPOCH_COMPLETED, checkpoint_handler, to_save={"net": net, "opt": opt})
StatsHandler(name="trainer", output_transform=lambda x: x).attach(trainer)
MLFlowHandler(tracking_uri="sqlite:///handler.db", output_transform=lambda x: x).attach(trainer)
post_pred = Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])
post_label = Compose([AsDiscrete(threshold=0.5)])
evaluator = ignite.engine.create_supervised_evaluator(
    net,
    {"Mean_Dice": MeanDice(include_background=True)},
    torch.device("cpu"),
    True,
    output_transform=lambda x, y, y_pred: (
        [post_pred(i) for i in decollate_batch(y_pred)],
        [post_label(i) for i in decollate_batch(y)],
    ),
)
val_loader = DataLoader(ArrayDataset(images[5:], imtrans, segs[5:], segtrans), batch_size=2)
dices = []


@trainer.on(ignite.engine.Events.EPOCH_COMPLETED(every=1))
def run_validation(engine):
    evaluator.run(val_loader)
    dices.append(evaluator.state.metrics["Mean_Dice"])


# %% tracked
train_loader = DataLoader(ArrayDataset(images[:5], imtrans, segs[:5], segtrans), batch_size=2)
state = trainer.run(train_loader, max_epochs=2)
# %%
import json
import sqlite3

with sqlite3.connect("handler.db") as handlers_own:
    tables = handlers_own.execute("select name from sqlite_master").fetchall()
    begun = handlers_own.execute("select count(*) from runs").fetchone()[0] if ("runs",) in tables else 0
print(json.dumps({"dices": dices, "iterations": state.iteration, "begun": begun}))

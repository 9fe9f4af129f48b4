# %%
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

images = torch.rand(6, 1, 16, 16, 16, generator=torch.Generator().manual_seed(3))
targets = (images > 0.5).long()
model = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
criterion = DiceCELoss(to_onehot_y=True, softmax=True)
opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=6)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
# %% tracked
seen_losses, rates = [], []
accumulation_steps = 2
for epoch in range(2):
    for step in range(0, 6):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(model(images[step : step + 1]), targets[step : step + 1]) / accumulation_steps
        scaler.scale(loss).backward()
        seen_losses.append(loss.item())
        if (step + 1) % accumulation_steps == 0:
            rates.append(scheduler.get_last_lr()[0])
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()
            scheduler.step()
# %%
import json

print(json.dumps({"losses": [a + b for a, b in zip(seen_losses[::2], seen_losses[1::2])], "rates": rates}))

# %%
from torch import nn

gen_net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
disc_net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
opt_g = torch.optim.Adam(gen_net.parameters(), lr=2e-4, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(disc_net.parameters(), lr=1e-4)
bce = nn.BCEWithLogitsLoss()
real = torch.randn(5, 32, 8, generator=torch.Generator().manual_seed(1))
# %% tracked
losses_d, losses_g = [], []
for batch in real:
    fake = gen_net(torch.randn(32, 4))
    opt_d.zero_grad()
    loss_d = bce(disc_net(batch), torch.ones(32, 1)) + bce(disc_net(fake.detach()), torch.zeros(32, 1))
    loss_d.backward()
    opt_d.step()
    opt_g.zero_grad()
    loss_g = bce(disc_net(fake), torch.ones(32, 1))
    loss_g.backward()
    opt_g.step()
    losses_d.append(loss_d.item())
    losses_g.append(loss_g.item())
# %%
import json

print(json.dumps({"d": losses_d, "g": losses_g}))

# %%
from monai.data import DataLoader, decollate_batch
from monai.metrics import ConfusionMatrixMetric, ROCAUCMetric
from monai.networks.nets import DenseNet
from monai.transforms import Activations, AsDiscrete, Compose, EnsureChannelFirst, LoadImage, RandFlip, ScaleIntensity

class_names = ["AbdomenCT", "CXR", "Hand"]
num_class = len(class_names)
image_files_list = [item["img"] for item in files]
image_class = [number % num_class for number in range(len(files))]
train_transforms = Compose([LoadImage(image_only=True), EnsureChannelFirst(), ScaleIntensity(), RandFlip(spatial_axis=0, prob=0.5)])
val_transforms = Compose([LoadImage(image_only=True), EnsureChannelFirst(), ScaleIntensity()])
y_pred_trans = Compose([Activations(softmax=True)])
y_trans = Compose([AsDiscrete(to_onehot=num_class)])


class MedNISTDataset(torch.utils.data.Dataset):
    def __init__(self, image_files, labels, transforms):
        self.image_files = image_files
        self.labels = labels
        self.transforms = transforms

    def __len__(self):
        return len(self.image_files)

    def __getitem__(self, index):
        return self.transforms(self.image_files[index]), self.labels[index]


train_loader = DataLoader(MedNISTDataset(image_files_list[:5], image_class[:5], train_transforms), batch_size=2, shuffle=True)
val_loader = DataLoader(MedNISTDataset(image_files_list[5:], image_class[5:], val_transforms), batch_size=2)
device = torch.device("cpu")
model = DenseNet(spatial_dims=3, in_channels=1, out_channels=num_class, init_features=4, growth_rate=2, block_config=(1, 1)).to(device)
loss_function = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
auc_metric = ROCAUCMetric()
confusion = ConfusionMatrixMetric(metric_name=["sensitivity", "specificity"], reduction="mean_batch")
# %% tracked
aucs = []
for epoch in range(2):
    model.train()
    for batch_data in train_loader:
        inputs, labels = batch_data[0].to(device), batch_data[1].to(device)
        optimizer.zero_grad()
        loss = loss_function(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        y_pred = torch.tensor([], dtype=torch.float32, device=device)
        y = torch.tensor([], dtype=torch.long, device=device)
        for val_data in val_loader:
            val_images, val_labels = val_data[0].to(device), val_data[1].to(device)
            y_pred = torch.cat([y_pred, model(val_images)], dim=0)
            y = torch.cat([y, val_labels], dim=0)
        y_onehot = [y_trans(i) for i in decollate_batch(y, detach=False)]
        y_pred_act = [y_pred_trans(i) for i in decollate_batch(y_pred)]
        auc_metric(y_pred_act, y_onehot)
        confusion(torch.stack(y_pred_act).round(), torch.stack(y_onehot))
        aucs.append(auc_metric.aggregate())
        sensitivity, specificity = confusion.aggregate()
        auc_metric.reset()
        confusion.reset()
# %%
import json

print(json.dumps({"aucs": aucs, "sensitivity": sensitivity.tolist()}))

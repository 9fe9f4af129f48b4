"""Words that name things in this field, and how a word looks that may be a part of somebody's name.

Two words with capitals are a person's only where neither is one of these: organs, directions, methods, file kinds,
plain English. What a word is built like tells most that no list holds: ``Segmentation``, ``Hausdorff``'s neighbours.
"""

from __future__ import annotations

import re

from .forenames import FORENAMES
from .reading import listed

THINGS = listed(
    " export exports import imports incoming outgoing inbox outbox deidentified bids derivatives rawdata sourcedata"
    " processed preprocessed registered cropped resampled normalized normalised protocol arm variant scenario option"
    " mrn dob nhs pid chi ssn nhsno na rate ratio penalty"
    " sans serif mono bitstream dejavu liberation noto roman helvetica arial courier verdana font family"
    " count counts distance detection classification level wise split set sets group groups data"
    " dataset datasets cohort mean median score dice loss model models metric metrics metadata id ids age sex weight"
    " image images imaging volume volumes label labels brain liver lung lungs heart kidney spleen prostate breast"
    " tumor tumour cancer lesion ct mri pet mr scan scans case cases study series train training test tests"
    " validation table specific based information safety care history outcome outcomes records record file files"
    " name names folder number numbers no not the a an all any each every per one two first last next new old none"
    " with without and or from for in on by of to at is was are position orientation selection sampling independent"
    " network unet net loader module setup sequence support table treatment preparation identity removed frame"
    " description clinical trial body mass gantry relationship primary language code insurance plan preference photo"
    " species breed comments address telephone status summary report reports results split splits stratified grouped"
    " aware aggregated averaged averages segmentation registration classifier detector pipeline encoder decoder"
    " embedding features feature vector matrix cross fold folds k leave out hold holdout random sampler batch"
    " batches epoch epochs step steps run runs transform config error warning info who index list date dates time"
    " space flow atlas template"
    # plain words of runs, folders and reports
    " patient patients patienten patientin pazienti pacientes subject subjects participant participants proband"
    " person persons people case control controls healthy normal abnormal positive negative good bad best worst"
    " final fast slow large small tiny huge big medium base baseline early late deep shallow wide narrow high low"
    " top bottom upper lower inner outer left right center centre middle main side both full half quarter whole part"
    " partial single double triple dual multi multiple mixed raw clean dirty old other others misc temp tmp cache"
    " backup copy draft version release beta alpha gamma delta sigma demo example examples sample samples hello"
    " world my your our their his her its this that these those which what when where how why if then else while"
    " again rerun redo retry start stop end begin started stopped done ready failed passed finished running pending"
    " open closed public private shared local remote global central federated online offline input inputs output"
    " outputs source target source reference expert novice reader readers rater raters gold standard silver ground"
    " truth prediction predictions pred preds predicted mask masks seg segs label map maps contour contours mesh"
    " surface surfaces points point landmark landmarks box boxes patch patches slice slices stack stacks crop crops"
    " roi rois voxel voxels pixel pixels grid size shape spacing resolution quality view views plane planes axial"
    " coronal sagittal oblique anterior posterior superior inferior medial lateral dorsal ventral proximal distal"
    " cranial caudal rostral internal external frontal temporal parietal occipital central basal cortical"
    " subcortical"
    # anatomy
    " atrium ventricle atria ventricles myocardium pericardium aorta artery arteries vein veins vena cava portal"
    " splenic renal hepatic iliac femoral carotid coronary pulmonary cerebral spinal cord spine vertebra vertebrae"
    " rib ribs sternum clavicle scapula humerus radius ulna femur tibia fibula hip knee pelvis sacrum skull mandible"
    " maxilla tooth teeth tongue pharynx larynx trachea bronchus esophagus oesophagus stomach duodenum bowel colon"
    " rectum sigmoid bladder ureter urethra uterus ovary cervix testis penis seminal vesicle gallbladder bile duct"
    " pancreas adrenal gland glands thyroid parotid submandibular lymph node nodes thymus skin fat muscle muscles"
    " bone bones marrow blood vessel vessels cartilage ligament tendon nerve nerves optic chiasm eye eyes lens"
    " cochlea hippocampus amygdala thalamus putamen caudate pallidum cerebellum brainstem pons medulla cortex"
    " cortical gray grey white matter csf lobe lobes head neck chest thorax abdomen limb hand foot ankle wrist elbow"
    " shoulder tail organ organs tissue"
    # disease and ward
    " nodule nodules cyst cysts polyp polyps stroke bleed bleeding hemorrhage haemorrhage edema oedema necrosis core"
    " rim enhancing fracture infarct aneurysm stenosis plaque calcium covid pneumonia emphysema effusion glioma"
    " glioblastoma meningioma adenoma carcinoma sarcoma melanoma lymphoma metastasis metastases disease diseases"
    " hospital clinic ward unit department radiology pathology oncology cardiology neurology surgery emergency"
    " general university centre site sites institute institution nurse doctor physician consultant radiologist"
    " surgeon pilot gross"
    # sequences and machines
    " flair stir dwi adc dce dsc swi asl tse gre epi bold mprage space vibe dixon haste trufi tof sag cor ax axi tra"
    " trans pre post con contrast native venous arterial delayed phase cine cbct spect dti fmri eeg ecg xray cxr us"
    " dx siemens philips canon toshiba hitachi fuji agfa kodak nvidia intel apple google amazon azure microsoft"
    " facebook meta hugging face github gitlab docker linux ubuntu debian windows macos python jupyter notebook lab"
    " colab kaggle pytorch torch tensorflow keras jax monai mlflow lightning ignite numpy scipy pandas tesla quadro"
    " titan hopper ampere turing volta ada"
    # methods
    " adam adamw adagrad adadelta sgd rmsprop lion lamb lookahead cosine annealing warmup linear constant"
    " exponential polynomial plateau cyclic kaiming xavier glorot uniform normal gaussian poisson bernoulli laplace"
    " cauchy dirac monte carlo markov bayes bayesian dropout norm relu gelu silu mish softmax sigmoid tanh focal"
    " tversky jaccard iou hausdorff surface pearson spearman kendall cohen kappa fleiss mann whitney wilcoxon"
    " friedman kruskal wallis bland altman youden jensen shannon kullback leibler kolmogorov smirnov frank wolfe"
    " fisher student welch accuracy precision recall sensitivity specificity auc roc prc macro micro weighted"
    " balanced curve confusion histogram plot plots figure figures chart bar line scatter violin dot total sum max"
    " min std var avg average learning decay momentum rate scheduler optimizer optimiser criterion gradient grad"
    " clip scale scaler norm noise filter smooth blur sharp flip flipd rotate rotated affine affined elastic zoom"
    " intensity histogram standard resnet densenet vgg inception efficientnet mobilenet vit swin transformer"
    " attention conv convolution residual dense block layer layers backbone bottleneck skip gate gated recurrent"
    " lstm gru gan vae diffusion stable flow contrastive supervised unsupervised semi weak weakly self pretrained"
    " pretraining finetune finetuned frozen transfer distilled student teacher ensemble ablation experiment"
    " experiments trial sweep search tune tuned tuning random seed fixed default auto manual custom user admin root"
    " guest system server client host node cluster queue job jobs task tasks project projects issue fix feature"
    " bugfix hotfix release develop main master branch merge commit tag update updated add added remove removed use"
    " used rename move change changes support privacy guard checkpoint checkpoints weights weight params param"
    " parameters parameter hyper batch state optimizer confusion decision tree forest boost boosting vector machine"
    " nearest neighbor neighbour cluster means component principal regression logistic survival hazard risk event"
    " events log logs logger logging debug trace traceback key value keys values type types dtype device cpu gpu"
    " cuda tensor array string integer float bool json csv yaml png svg pdf nii nifti dicom dcm nrrd gz zip tar npy"
    " npz pt pth ckpt onnx h5 html xml txt md ipynb py sh exe dll"
    # places, peoples, calendar, words that begin sentences
    " london paris berlin madrid rome vienna zurich geneva oxford cambridge edinburgh glasgow dublin boston houston"
    " methodist york jersey zealand haven hampshire francisco angeles diego toronto montreal sydney melbourne tokyo"
    " kyoto beijing shanghai seoul singapore delhi mumbai cairo kingdom states united ireland scotland wales england"
    " britain germany france spain italy austria switzerland netherlands belgium sweden norway denmark finland"
    " poland europe america africa asia australia north south east west northern southern eastern western st saint"
    " royal national international college school faculty foundation consortium society association initiative"
    " collection archive archives library challenge grand medical decathlon biobank repository zay monday tuesday"
    " wednesday thursday friday saturday sunday january february march april may june july august september october"
    " november december januar februar maerz mai juni juli oktober dezember morning evening night week weeks month"
    " months year years day days hour hours minute minutes second seconds today tomorrow yesterday mister dear"
    " please thanks note notes see also only just more most less least very much many some few such same both either"
    " neither nor but so as than there here now too will would can could may might must shall should do does did has"
    " have had be been being am were it he she they we you i me him us them processing loading saving saved reading"
    " writing segmenting case done using after before during between apply applied asked call called seen written"
    " made checked missing empty unknown anonymous anonymized anonymised red green blue black yellow orange purple"
    " brown pink cyan magenta color colour keyerror valueerror typeerror runtimeerror indexerror filenotfounderror"
    " oserror warning userwarning contrary copyright author authors license licence page title chapter section"
    " appendix paper article"
)
"""In small letters."""

_ENDINGS = re.compile(
    r"(?:tion|sion|ment|ness|ism|ity|ized|ised|izer|iser|ical|ous|ular|gram|graphy|scope|scopy|itis|oma|osis|pathy"
    r"|ectomy"
    r"|net|nets|former|formers|coder|loss|metric|vector|based|level|wise|ization|isation|ology|able|ible|ive|ure|ance"
    r"|ence|ings|tions|ments|ally|tric|stic|atic|etic)$"
)
PARTICLES = listed(
    " van von der den de del della di da la le bin ibn al el o st mac mc ter ten zu zum zur dos du des ap ben bint y e"
)
AMBIGUOUS = listed(
    "brown white black green gray grey young long short little cross wood field stone west pool king rich bush"
)
"""Things that are surnames as well: beside a forename they are."""
_VOWEL = re.compile(r"[aeiouyà-öø-ÿāăąēęěīıōőœūůű]")
_PART = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_PERSONAL = re.compile(rf"\s*{_PART.pattern}\.?(?:(?:,[ ]?|[ _\-.^]){_PART.pattern}\.?){{0,5}}\s*")


def is_thing(word: str) -> bool:
    "Tell whether a word names something that is no person."
    low = word.lower().strip(".")
    return low in THINGS or (low not in FORENAMES and len(low) > 5 and _ENDINGS.search(low) is not None)


def may_be_name(word: str) -> bool:
    "Tell whether a word may be a part of a name: begins with a capital or is all capitals, and names no thing."
    if len(word) < 2 or not word[0].isupper() or is_thing(word):
        return False
    letters = word.replace("'", "").replace("\u2019", "")
    if letters.isupper():
        return len(letters) > 2 and _VOWEL.search(letters.lower()) is not None
    # McCoy, O'Neill and MacLeod have a capital inside; SwinUNETR and ResNet have more, or another begin.
    inside = letters[1:]
    return (
        inside.islower() or re.match(r"(?:Mc|Mac|De|Di|La|Le|O|D|Van|Von|Fitz)[A-Z][a-zà-ÿ]{2,}$", letters) is not None
    )


def is_personal(value: str) -> bool:
    "Tell whether the whole of `value`, which stands under ``patient`` or the like, is somebody's name."
    if not _PERSONAL.fullmatch(value):
        return False
    parts = [part[0] for part in _PART.finditer(value)]
    telling = [part for part in parts if len(part) > 1 and part.lower() not in PARTICLES]
    if not telling or any(is_thing(part) for part in telling):
        return False
    if len(telling) > 1:
        return True
    return (may_be_name(telling[0]) and len(telling[0]) > 2) or telling[0].lower() in FORENAMES
